"""Work on arrays that no one machine's memory holds: boxes of sites, and the workers of Dask."""
