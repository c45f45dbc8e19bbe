#!/usr/bin/env bash
# An agent of curl and sed: takes queries, calls each query's first tool, hands in what it saw.
#
#   stb serve --dataset demo
#   bash examples/curl_agent.sh http://127.0.0.1:8080 demo G1_tool curl 10
set -euo pipefail
server=$1 dataset=$2 group=$3 run=$4 limit=${5:-10}

post() { # path, token, body
  curl -sS --fail-with-body "$server$1" -H "authorization: Bearer $2" -H 'content-type: application/json' -d "$3"
}
member() { # the text of a JSON document's first member of that name, with its quotes
  sed -E 's/.*"'"$1"'":("([^"\\]|\\.)*").*/\1/'
}
plain() { member "$1" | tr -d '"'; }

curl -sS --fail-with-body "$server/v1/datasets/$dataset/queries?group=$group" |
  grep -oE '"query_id":"[^"]*"' | cut -d'"' -f4 | head -n "$limit" |
  while read -r query; do
    episode=$(post "/v1/episodes?format=mcp" "" \
      '{"dataset":"'"$dataset"'","group":"'"$group"'","query_id":"'"$query"'","agent":"curl","run":"'"$run"'"}')
    id=$(grep -oE '^\{"id":"[^"]*"' <<<"$episode" | cut -d'"' -f4)
    token=$(plain token <<<"$episode")
    tool=$(grep -oE '"tools":\[\{"name":"[^"]*"' <<<"$episode" | cut -d'"' -f6)
    seen=$(post "/v1/episodes/$id/calls" "$token" '{"name":"'"$tool"'","arguments":{}}')
    end=$(post "/v1/episodes/$id/finish" "$token" '{"answer":'"$(member observation <<<"$seen")"'}')
    echo "query $query: $(plain stop <<<"$end")"
  done
