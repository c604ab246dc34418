"""`mgnet-verify audit`: the counts that the paper prints against ours."""
