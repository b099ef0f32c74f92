"""Stand-ins for what is not on this machine: stores of objects, Google's services.

They speak the real protocols to the real clients, on 127.0.0.1.
"""
