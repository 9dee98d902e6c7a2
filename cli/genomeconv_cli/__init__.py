"""The command line: one command a file; parse, call one library function, show."""
