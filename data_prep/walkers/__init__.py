"""Synthetic walkers: people of different build and gait, filmed by several cameras and segmented imperfectly.

anthropometry (who) -> kinematics (how they move) -> clothing (what they wear and carry) -> body (solids of every frame)
-> camera (projection) -> renderer (masks) -> noise (what a segmenter makes of them). Everything is a pure function of
(seed, names), so any number of workers writes the same bytes.
"""
