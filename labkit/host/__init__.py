"""What serves the notebooks: Voila for dashboards, JupyterLab for notebooks, and the launcher of both."""
