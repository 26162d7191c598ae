"""x."""
import plotly.graph_objects as go
def byte_cover(trace, upto=None, *, theme="light"):
    return go.Figure()
