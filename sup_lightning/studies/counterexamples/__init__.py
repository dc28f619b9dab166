"""Networks that break the usual picture of features, made to see what the measurements say of them."""
