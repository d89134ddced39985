#!/bin/sh
# A program that knows nothing of defib; `defib run` beats for it.
page=0
while true; do
  page=$((page + 1))
  echo "crawled page $page"
  sleep 1
done
