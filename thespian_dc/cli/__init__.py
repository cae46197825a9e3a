"""The command `thespian-dc`: one verb per file, put together in main.py."""
