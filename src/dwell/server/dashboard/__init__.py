"""The dashboard: pages for whoever runs the loop, made on the server. Each page is a module; `routes` has them all."""
