"""Questions about linear probes of neurons."""
