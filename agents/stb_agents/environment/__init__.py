"""What an agent sees in a trial: the task, its functions, its budget, its model and the server."""
