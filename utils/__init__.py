"""Chest radiographs: normal or pneumonia."""
