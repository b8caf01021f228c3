"""Erasing an identity: whatever the store's folder still holds of somebody who was deleted, and proof that it is gone.

A command deletes the faces and notes what is to be done (`commands/erase_faces`); `ErasureRun` does it, from the
journal to the freed pages, and writes the receipt.
"""
