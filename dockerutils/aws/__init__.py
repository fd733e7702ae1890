"""Amazon Web Services: sessions, instances that are docks, Service Catalog."""
