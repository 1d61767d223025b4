"""The methods that explain why two views are alike, one file for each kind."""
