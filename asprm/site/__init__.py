"""The site: pages, includes, pictures, checks. The study does not need it."""
