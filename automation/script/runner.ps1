# Runs a script as AWS does: reads what is to be done from standard input, writes the result to descriptor 3. Its last object is what it returns.
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$job = [Console]::In.ReadToEnd() | ConvertFrom-Json
$env:InputPayload = $job.events
$result = [System.IO.FileStream]::new([Microsoft.Win32.SafeHandles.SafeFileHandle]::new([IntPtr]3, $true), [System.IO.FileAccess]::Write)
$result.Write([byte[]](10), 0, 1) # it has begun
function Write-Result($map) {
    $bytes = [System.Text.Encoding]::UTF8.GetBytes(($map | ConvertTo-Json -Depth 50 -Compress))
    $result.Write($bytes, 0, $bytes.Length)
    $result.Dispose()
}
try {
    $all = @(& (Join-Path $PSScriptRoot 'script.ps1'))
    $last = $null
    if ($all.Count -gt 0) { $last = $all[-1] }
    if ($LASTEXITCODE -and $all.Count -eq 0) { throw "the script ended with exit status $LASTEXITCODE" }
    for ($i = 0; $i -lt $all.Count - 1; $i++) { $all[$i] | Out-String -Stream | ForEach-Object { [Console]::Out.WriteLine($_) } }
    Write-Result @{ payload = $last }
} catch {
    $text = ($_ | Out-String).Trim()
    [Console]::Error.WriteLine($text)
    Write-Result @{ failure = $_.Exception.Message; traceback = $text }
}
exit 0
