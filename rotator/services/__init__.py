"""The async shell around the domain: each file is something that a person would say it does.

Services read and write through ports alone, and know neither HTTP nor any SDK.
"""
