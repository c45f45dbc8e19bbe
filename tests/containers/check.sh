#!/usr/bin/env bash
# check.sh REPOSITORY [--builds N]: the services of docker-compose.yml on a real Docker Engine, from nothing.
#
# Follows the README's section "As services" line by line in a fresh clone, then looks at what holds: images,
# confinement, replicas, files, restarts, replicas and databases that die during a run, a simulator that is started
# later, and that nothing is left. --builds N does the first `up --build` N times, each from no image.
#
# `docker` must reach an engine. IN names a command that runs others where published ports are, if that is not here.
# It ends with 0 if everything held. Images and volumes of its project are removed; others are left alone.
set -uo pipefail
usage() { printf 'usage: check.sh REPOSITORY [--builds N]\n' >&2; exit 2; }
[ -f "${1:-}/docker-compose.yml" ] || usage
repository=$(cd "$1" && pwd); shift
builds=1
case "${1:-}" in '') ;; --builds) builds=${2:?} ;; *) usage ;; esac
read -ra inside <<<"${IN:-}"
project=stbcheck$$
work=$(mktemp -d)
failed=0
say() { printf '[%4ds] %s\n' "$SECONDS" "$*"; }
# is WHAT FOUND WANTED
is() { if [ "$2" = "$3" ]; then say "ok   $1"; else say "FAIL $1: $2, and not $3"; failed=1; fi; }
# holds WHAT COMMAND…: the command ends with 0; otherwise its output is shown
holds() {
  local what=$1 said; shift
  if said=$("$@" 2>&1); then say "ok   $what"; else say "FAIL $what:"; tail -n 15 <<<"$said"; failed=1; fi
}
at() { "${inside[@]}" "$@"; }
compose() { at docker compose "$@"; }
runner() { compose run --rm -T runner stb "$@"; }
ids() { compose ps -q server | sort; }
replicas() { compose ps --status running --format '{{.Service}}' | grep -c '^server$'; }
setup_ended() { docker inspect -f '{{.State.FinishedAt}}' "$project-setup-1"; }
# until_holds WHAT COMMAND…: waits for a condition
until_holds() {
  local what=$1 tries=240; shift
  until "$@" >/dev/null 2>&1; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || { say "FAIL $what did not come to pass"; failed=1; return 1; }
    sleep 0.5
  done
  say "ok   $what"
}
get() { at curl -s -o "$work/body" -w '%{http_code}' -H "Authorization: Bearer $token" "http://127.0.0.1:8080$1"; }
forget_images() { docker image rm -f stabletoolbench-server stabletoolbench-runner >/dev/null 2>&1; }
clean_up() {
  cd "$work/clone" 2>/dev/null && compose --profile '*' down -v >/dev/null 2>&1
  rm -rf "$work"
}
trap clean_up EXIT

git clone -q "$repository" "$work/clone" || exit 2
chmod 755 "$work"
cd "$work/clone" || exit 2
export COMPOSE_PROJECT_NAME=$project

# 1. The README, line by line.
mapfile -t lines < <(awk '/^## As services/ {on = 1; next} /^## / {on = 0} on && /^```sh$/ {inside = 1; next}
  /^```$/ {inside = 0} on && inside && NF' README.md)
[ ${#lines[@]} -ge 8 ] || { say "FAIL README has ${#lines[@]} lines for services"; exit 1; }
for line in "${lines[@]}"; do
  case $line in
    *" up "*)
      for ((number = 1; number <= builds; number++)); do
        forget_images
        holds "README, build $number of $builds: $line" at bash -euo pipefail -c "$line"
        [ "$number" = "$builds" ] || compose --profile '*' down -v >/dev/null 2>&1
      done
      is "replicas after up" "$(replicas)" 2
      before=$(ids) setup_before=$(setup_ended) ;;
    *" down"*) ;;  # at the end, when everything has been looked at
    *) holds "README: ${line:0:70}" at bash -euo pipefail -c "$line" ;;
  esac
done
token=$(sed -n 's/^STB_TOKEN=//p' .env)
is "the same replicas after all commands of the runner" "$(ids)" "$before"
is "no command of the runner imported again" "$(setup_ended)" "$setup_before"
is "the checkout is as it was" "$(git status --porcelain)" ""

# 2. Images and containers.
for image in server runner; do
  is "programs in $image that install, compile or gain rights" "$(docker run --rm --user 0 --entrypoint sh \
    stabletoolbench-$image -c 'for p in pip pip3 gcc cc g++ make; do command -v $p; done
    python -c "import pip" 2>/dev/null && echo pip; find / -xdev -type f -perm /6000 2>/dev/null')" ""
done
layers() { docker image inspect -f '{{range .RootFS.Layers}}{{println .}}{{end}}' "stabletoolbench-$1" | grep . | sort; }
own=$(comm -23 <(layers server) <(layers runner) | wc -l)
is "layers of server that runner does not have, at most its own package" "$((own <= 1))" 1
for service in proxy server postgres redis; do
  id=$(compose ps -q $service | head -n 1)
  status=$(docker exec "$id" sh -c 'grep -E "^(CapEff|CapBnd|NoNewPrivs):" /proc/1/status | tr -d "\t\n"')
  is "rights of $service" "$status" "CapEff:0000000000000000CapBnd:0000000000000000NoNewPrivs:1"
  is "$service is nobody in particular" "$(docker exec "$id" sh -c '[ "$(id -u)" != 0 ] && echo yes')" yes
  is "$service cannot change its image" "$(docker exec "$id" sh -c 'touch /x 2>/dev/null || echo cannot')" cannot
  is "limits of $service" "$(docker inspect -f '{{if and .HostConfig.Memory .HostConfig.PidsLimit}}yes{{end}} {{
    .HostConfig.LogConfig.Type}}' "$id")" "yes local"
done
id=$(compose ps -q server | head -n 1)
is "the server can write to its home" "$(docker exec "$id" sh -c 'touch ~/x && rm ~/x && echo yes')" yes
is "without a token" "$(at curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8080/v1/datasets)" 401
is "ready" "$(get /readyz)" 200
is "Redis is used" "$(grep -o '"redis":{"status":"ok"' "$work/body")" '"redis":{"status":"ok"'
is "without a simulator it replays" "$(grep -o '"mode":"[a-z]*"' "$work/body")" '"mode":"replay"'
is "published on the loopback alone" "$(at ss -Hltn | awk '{print $4}' | grep ':8080$' | grep -cv '^127\.0\.0\.1:')" 0

# 3. The runner's files.
holds "doctor finds nothing wrong" runner doctor --json
is "problems that doctor names" "$(runner doctor --json 2>/dev/null | grep -o '"problem":"[^"]\+"')" ""
holds "a back-up comes out" runner backup monday.db
is "it belongs to who asked for it" "$(stat -c %u runner-files/monday.db)" "$(id -u)"
mkdir -p "$work/foreign" && chmod 555 "$work/foreign"
said=$(RUNNER_FILES=$work/foreign RUNNER_USER=4321:4321 compose run --rm -T runner stb doctor --json 2>/dev/null)
is "doctor notices a folder that it cannot write" "$(grep -o working-folder-unwritable <<<"$said" | head -n 1)" \
  working-folder-unwritable

# 4. A run through the proxy, while a replica is killed and the databases are restarted.
victim=$(compose ps -q server | head -n 1)
runner run -a scripted -d demo --name disturbed --trials 200 --max-connections 4 >"$work/run.log" 2>&1 &
run=$!
until_holds "the run has begun" bash -c "docker logs $(compose ps -q proxy) >/dev/null && sleep 3"
pid=$(docker inspect -f '{{.State.Pid}}' "$victim")
killed_at=$(date -u +%Y-%m-%dT%H:%M:%S.%NZ)
docker run --rm --user 0 --pid host --entrypoint sh stabletoolbench-server -c "kill -9 $pid"
compose restart redis >/dev/null 2>&1
until_holds "the killed replica is healthy again" \
  bash -c "[ \$(docker inspect -f '{{.State.Health.Status}} {{.RestartCount}}' $victim) = 'healthy 1' ] ||
    docker inspect -f '{{.State.Health.Status}} {{.RestartCount}}' $victim | grep -q '^healthy [1-9]'"
is "the run goes on meanwhile" "$(kill -0 $run 2>/dev/null && echo yes)" yes
compose restart postgres >/dev/null 2>&1
wait $run; is "the run ends well" $? 0
[ "$failed" = 0 ] || tail -n 5 "$work/run.log"
is "it is complete" "$(runner ls --json 2>/dev/null | tr -d ' \n' | tr '{' '\n' | grep '"name":"disturbed"' |
  grep -o '"complete":true')" '"complete":true'
# Its log: nothing about a request before it accepts connections. The proxy's: it was refused, and never waited.
docker logs --since "$killed_at" "$victim" 2>&1 >/dev/null | grep -v '^$' >"$work/victim.log"
docker logs --since "$killed_at" "$(compose ps -q proxy)" >"$work/proxy.log" 2>&1
is "the killed replica says when it accepts connections" "$(grep -c '"accepts connections"' "$work/victim.log" |
  sed 's/[1-9][0-9]*/yes/')" yes
is "requests in its log between its new start and that" "$(sed -n '/"Started parent process/,/"accepts connections"/p' \
  "$work/victim.log" | grep -c '"request"')" 0
is "requests that the proxy sent and waited for in vain" "$(grep -c 'upstream timed out' "$work/proxy.log")" 0
say "     refused and passed over: $(grep -c 'Connection refused' "$work/proxy.log") connections"

# 5. A simulator that is started later, with nothing else to set.
ask() {
  at curl -s -o "$work/body" -D - http://127.0.0.1:8080/virtual -H "Authorization: Bearer $token" \
    -H 'content-type: application/json' -d '{"category": "Finance", "tool_name": "coinage_fx_rates",
    "api_name": "latest_rates", "tool_input": "{\"base\": \"'"$1"'\"}", "strip": "", "toolbench_key": ""}' |
    tr -d '\r' | sed -n 's/^x-stb-provenance: //p'
}
is "a call without a recording" "$(ask AAA)" miss
with_simulator=(-f docker-compose.yml -f tests/containers/simulator.yml --profile gpu)
holds "up with the profile gpu" compose "${with_simulator[@]}" up -d --wait
is "its server was not started anew" "$(ids)" "$before"
until_auto() { [ "$(get /readyz)" = 200 ] && grep -q '"mode":"auto"' "$work/body"; }
until_holds "the server follows" until_auto
until_simulated() { [ "$(ask BBB)" = simulated ] || [ "$(ask BBB)" = recorded-simulated ]; }
until_holds "what no recording answers is simulated" until_simulated
runner doctor >"$work/doctor.log" 2>&1
for fact in "structured output" "context" "function calls"; do
  is "doctor tells $fact of the simulator" "$(tr -d '\n' <"$work/doctor.log" | grep -c "$fact")" 1
done
compose "${with_simulator[@]}" rm -sf simulator >/dev/null 2>&1
until_replay() { [ "$(get /readyz)" = 200 ] && grep -q '"mode":"replay"' "$work/body"; }
until_holds "without it the server replays again" until_replay

# 6. Down and up, a slow disk at the first start, profiles.
compose --profile '*' down >/dev/null 2>&1
holds "up again" compose up -d --wait
is "runs are kept" "$(runner ls --json 2>/dev/null | grep -c '"first"' | sed 's/[1-9][0-9]*/yes/')" yes
compose --profile '*' down -v >/dev/null 2>&1
mkdir -p "$work/initdb" && printf '#!/bin/sh\nsleep 20\n' >"$work/initdb/slow.sh" && chmod -R a+rX "$work/initdb"
printf 'services:\n  postgres:\n    volumes: ["%s:/docker-entrypoint-initdb.d:ro"]\n' "$work/initdb" >"$work/slow.yml"
holds "up where PostgreSQL's first start takes 20 s" compose -f docker-compose.yml -f "$work/slow.yml" up -d --wait
holds "up with prometheus" compose --profile observability up -d --wait prometheus
for line in "${lines[@]}"; do
  case $line in *" down"*) holds "README: $line" at bash -euo pipefail -c "$line -v" ;; esac
done
for kind in container volume network; do
  all=(); [ $kind = container ] && all=(-a)
  is "${kind}s left" "$(docker $kind ls -q "${all[@]}" --filter "label=com.docker.compose.project=$project" | wc -l)" 0
done
forget_images
say "$([ "$failed" = 0 ] && echo "everything held" || echo "something did not hold")"
exit "$failed"
