"""What the master is made of: the scoreboard, the process table, the loop, services, and how children are born.

``gunicorn.arbiter`` puts these together. Nothing in here starts a thread or an event loop, and nothing imports the
application.
"""
