"""When to read which meter, which answers are ours, and which meters are alive."""
