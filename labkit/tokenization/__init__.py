"""Token boundaries: where tokenizers cut, and what a cut does to probability, fairness, arithmetic and spelling."""
