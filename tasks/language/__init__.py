"""Labelled texts, by default the sentiment of tweets, with a fine-tuned encoder or decoder."""

from tasks.language.data import CsvData, HubData, TextData, TweetData
from tasks.language.module import TweetSentiment
from tasks.language.next_token import NextToken

__all__ = ["CsvData", "HubData", "NextToken", "TextData", "TweetData", "TweetSentiment"]
