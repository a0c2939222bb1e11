"""The playbook: one file per action type. `executor` is the only caller of apply and undo, `recovery` mends what a dead
worker left. To add a type, add a file and its line in `registry`."""
