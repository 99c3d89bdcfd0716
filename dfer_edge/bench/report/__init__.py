"""What comes out: the results file, its tables, plots, comparisons and pages; nothing here measures."""
