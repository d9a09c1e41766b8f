"""The wire contract, shared by server, command line, agent and orchestrators. Imports nothing."""
