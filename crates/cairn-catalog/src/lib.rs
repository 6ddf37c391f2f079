//! All metadata of Cairn: the Catalog trait and its engines.
