"""Synthetic walkers: people of different build and gait, filmed by several cameras and segmented imperfectly.

anthropometry (build) -> kinematics (motion) -> clothing (clothes and load) -> body (solids of every frame) -> camera
(projection) -> renderer (masks) -> noise (errors of segmentation). Everything is a pure function of (seed, names), so
any number of workers writes the same bytes.
"""
