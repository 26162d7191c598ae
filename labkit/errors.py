"""The lab's own errors: one sentence that names the value and the mend. The engine sends them to the page as they are."""


class LabError(ValueError):
    """Something a person can mend. `str(error)` is one sentence: the value, the allowed range, what to do."""


class KnobError(LabError):
    """A knob was set to something outside its range, or does not exist."""


class PromptError(LabError):
    """The prompt is empty or longer than the model's context leaves room for."""


class ModelError(LabError):
    """A model is unknown, cannot be loaded, or does not fit its partner."""


class TraceError(LabError):
    """A trace file is broken, of another version, or not a trace."""


class EngineError(LabError):
    """The engine refused a request, is busy, or went away."""
