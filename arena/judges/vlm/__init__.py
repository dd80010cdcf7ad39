"""The vision-language judge: an OpenAI-compatible endpoint that is shown frames and answers in JSON.

What comes back is written by a model that was shown pictures and words of strangers: it is checked as hostile input.
"""
