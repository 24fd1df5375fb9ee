<?php
// An import that tells how far it is. No library, no event stream: lines of JSON.
header('Content-Type: application/x-ndjson');
while (ob_get_level() > 0) {
    ob_end_flush(); // else PHP holds back up to 4 KiB
}
foreach (['read', 'check', 'write'] as $step) {
    for ($percent = 0; $percent <= 100; $percent += 50) {
        echo json_encode(['step' => $step, 'percent' => $percent]), "\n";
        flush();
        usleep(20_000);
    }
}
