"""Sentiment of tweets with a fine-tuned BERT encoder."""

from tasks.language.data import TweetData
from tasks.language.module import TweetSentiment

__all__ = ["TweetData", "TweetSentiment"]
