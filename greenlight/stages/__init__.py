"""One file per stage of dvc.yaml: read files, call core, write files."""
