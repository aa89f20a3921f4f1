"""Hidden states on disk: written shard by shard, read by row through a memory map."""
