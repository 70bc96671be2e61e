"""A station as an OPC UA server, with the names of OPC 40100-1 (Machine Vision). Needs asyncua, the extra [line].

adapter       the thread, and what it hands over: the one file that the rest of the runtime knows
settings      the table [opcua] of line.toml
server        the server's life on its event loop
space, nodes  what a client sees: the vision system of OPC 40100-1, and flat variables for those who poll
methods       what a client may call
telling       verdicts and states, written and sent as events
states        where OPC 40100-1 says that a station is: pure
results       the last results, and what is looked for among them: pure
certificates, trusted, users    who we are, and who may come in
protocol, limits    what asyncua leaves open: strangers on the port, sizes, counts
"""
