"""Pictures: opened, prepared for a network, sampled, labelled and located."""
