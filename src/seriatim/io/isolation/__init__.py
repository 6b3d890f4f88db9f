"""Reading in a worker process with limits of time and memory."""
