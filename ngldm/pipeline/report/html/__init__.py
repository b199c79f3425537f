"""The page reports/index.html: its template, style and script."""
