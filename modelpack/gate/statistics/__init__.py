"""The gate's tests, one file a method: numbers in, estimates and intervals out. They know no checks and no traffic."""
