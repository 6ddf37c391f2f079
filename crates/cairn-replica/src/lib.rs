//! Quorum write, hedged read, repair, scrub and garbage over any three zones.
