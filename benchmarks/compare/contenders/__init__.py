"""The programs that play, one for each way to have environments. Each runs in its contender's virtual environment."""
