"""Where data sets come from. Each source writes the one form of `ngldm.data.dataset`; no other room knows them."""
