"""One self-contained HTML page about a run: plain data in (`data.ReportData`), text out (`page.render`)."""
