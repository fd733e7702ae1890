"""The tests, in three rings: pure ones, commands called in this process, and real ones against real engines."""
