"""Problems: the record, synthetic families, published data sets."""
