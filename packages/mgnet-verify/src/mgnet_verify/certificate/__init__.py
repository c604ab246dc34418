"""`mgnet-verify certify`: every property of one network, as a document of mgnet-records and as lines for a terminal."""
