"""The downstream tasks, a package each: converter of the published files, data set, loss, metric."""
