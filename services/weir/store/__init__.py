"""What outlives a process: keys, usage, audit, and limits that several gateways share.

SQLAlchemy Core over one SQLite file by default, the same code on PostgreSQL. Nothing here is called while a request
waits: the gateway holds keys in memory and writes from a background task.
"""
